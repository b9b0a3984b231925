-- Gone: a worker has ended.
-- in:  worker
-- out: 1
local function gone(op)
  call('DEL', WORKER .. op[2])
  call('SREM', WORKERS, op[2])
  return 1
end
