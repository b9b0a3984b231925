-- SendFailed: a publish was not confirmed.
-- in:  id, now, error
-- out: the state now, or false when there is no record
local function fail_send(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  local state, flags = r[1], r[3]
  -- A record that was ever claimed: the message did arrive.
  if not state or r[2] or not may_move(state, 'failed') then
    return state
  end
  call('HSET', key, 'state', 'failed', 'error', op[4], 'run', '0 - ' .. op[3])
  if flagged(flags, 'w') then
    tell(key, op[2], true)
  end
  save_flags(key, flags, with(without(flags, 'w'), 's'))
  return 'failed'
end
