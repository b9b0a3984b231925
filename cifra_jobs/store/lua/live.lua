-- Live: the workers alive now; forgets those that are not.
-- in:  nothing
-- out: worker, info, worker, info...
local function live()
  local found = {}
  for _, worker in ipairs(call('SMEMBERS', WORKERS)) do
    local info = call('GET', WORKER .. worker)
    if info then
      found[#found + 1] = worker
      found[#found + 1] = info
    else
      call('SREM', WORKERS, worker)
    end
  end
  return found
end
