-- Beat: a worker is alive.
-- in:  worker, info, ttl_ms
-- out: 1
local function beat(op)
  call('SET', WORKER .. op[2], op[3], 'PX', op[4])
  call('SADD', WORKERS, op[2])
  return 1
end
