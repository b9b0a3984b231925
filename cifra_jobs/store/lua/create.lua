-- Created: a task is about to be published.
-- in:  id, state, ttl_ms, fields and values...
-- out: the state now
local function create(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'flags')
  local flags = r[2]
  if flagged(flags, 's') then
    call('HDEL', key, 'error', 'run')
    save_flags(key, flags, without(flags, 's'))
  elseif r[1] then
    return r[1]
  end
  call('HSET', key, unpack(op, 5))
  call('PEXPIRE', key, op[4])
  return op[3]
end
