-- Release: give a claim back unrun.
-- in:  id, token
-- out: 1, or 0 when another holds the task or it has ended
local function release(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'claim')
  if not holds(r[2], op[3]) or is_final(r[1]) then
    return 0
  end
  local round, _, worker = read_claim(r[2])
  call('HSET', key, 'claim', round .. '  ' .. worker,
    'state', r[1] == 'running' and 'queued' or r[1])
  return 1
end
