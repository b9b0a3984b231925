-- Stage: store the result before the follow-ups that will read it.
-- in:  id, token, result as stored, large result or '', result_ttl_ms
-- out: 1, or 0 when another holds the task or it has ended
local function stage(op)
  local id = op[2]
  local key = TASK .. id
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  if r[1] and is_final(r[1]) and not flagged(r[3], 's') then
    return 0
  end
  if r[2] and not holds(r[2], op[3]) then
    local _, token = read_claim(r[2])
    if token ~= '' then
      return 0
    end
  end
  call('HSET', key, 'result', op[4])
  if op[5] ~= '' then
    call('SET', RESULT .. id, op[5], 'PX', op[6])
  end
  save_flags(key, r[3], with(r[3], 'g'))
  expire_at_last(key, op[6])
  return 1
end
