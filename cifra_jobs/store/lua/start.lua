-- Started: a claimed attempt has begun to run.
-- in:  id, token, run (attempts, started_at, '-')
-- out: 1, or 0 when another holds the task
local function start(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'claim')
  if not holds(r[2], op[3]) or not may_move(r[1], 'running') then
    return 0
  end
  call('HSET', key, 'state', 'running', 'run', op[4])
  return 1
end
