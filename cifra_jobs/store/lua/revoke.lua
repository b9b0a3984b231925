-- Revoke: set the durable revoke flag.
-- in:  id, now, error, how long the flag waits for an id never seen (ms)
-- out: the state before, or false for an id never seen
local function revoke(op)
  local id = op[2]
  local key = TASK .. id
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  local state, before = r[1], r[3]
  local flags = with(before, 'r')
  local token = ''
  if r[2] then
    token = select(2, read_claim(r[2]))
  end
  if state and is_final(state) and not flagged(before, 's') then
    return state
  elseif state and state ~= 'running' and token == '' and may_move(state, 'revoked') then
    call('HSET', key, 'state', 'revoked', 'error', op[4], 'run', ended_at(key, op[3]))
    if flagged(flags, 'w') then
      tell(key, id, true)
    end
    -- Nobody has handed anything over: whoever receives the message will.
    flags = with(without(flags, 'w'), 'h')
  end
  save_flags(key, before, flags)
  if not state then
    expire_at_last(key, op[5])
  end
  return state
end
