-- Progress: news from a running task.
-- in:  id, token, fields and values (of those that change)...
-- out: 1, or 0 when another holds the task
local function progress(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  if not holds(r[2], op[3]) or is_final(r[1]) then
    return 0
  end
  if op[4] then
    call('HSET', key, unpack(op, 4))
  end
  if flagged(r[3], 'w') then
    tell(key, op[2], false)
  end
  return 1
end
