-- Claim: a worker asks for the right to run one delivery.
-- in:  id, round, token, claim (round, token, worker), ttl_ms, what was sent (for a record that is
--      missing), '1' when a record that exists should live ttl_ms from now, else '', how often the
--      message was put back from the dead
-- out: 'run', 'busy', 'stale' or 'revoked'; or {'died', how often a holder died while it ran} for
--      a task that may be run again; or {'staged', result} for one that has run and whose outcome
--      was not recorded any more; or {'done', state} or, when the hand-over is to be repeated,
--      {'done', state, result or false, error or false}
local function outcome(key, id, state, flags)
  if not flagged(flags, 'h') then
    return { 'done', state }
  end
  local r = call('HMGET', key, 'result', 'error')
  return { 'done', state, read_result(id, r[1]), r[2] }
end

-- Open a task again whose message was put back from the dead; not one that somebody else ended.
local function reopened(key, state, replays)
  if state ~= 'failed' and state ~= 'expired' then
    return false
  end
  if tonumber(replays) <= tonumber(call('HGET', key, 'replays') or '0') then
    return false
  end
  call('HSET', key, 'state', 'queued', 'replays', replays)
  call('HDEL', key, 'error', 'run', 'result', 'deaths')
  return true
end

local function claim(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  local state, held, flags = r[1], r[2], r[3]
  local round, deaths = '0', 0
  if not state then
    call('HSET', key, 'state', 'queued', 'sent', op[7])
  elseif flagged(flags, 's') then
    call('HSET', key, 'state', 'queued')
    call('HDEL', key, 'error', 'run')
    save_flags(key, flags, without(flags, 's'))
  elseif is_final(state) then
    if op[9] == '0' or not reopened(key, state, op[9]) then
      return outcome(key, op[2], state, flags)
    end
  elseif held then
    local token, worker
    round, token, worker = read_claim(held)
    if round ~= op[3] then
      if tonumber(op[3]) < tonumber(round) then
        return 'stale'
      end
    elseif token ~= '' and token ~= op[4] and call('EXISTS', WORKER .. worker) == 1 then
      return 'busy'
    elseif token ~= '' and token ~= op[4] and state == 'running' then
      deaths = call('HINCRBY', key, 'deaths', 1)
    end
  end
  call('HSET', key, 'claim', op[5])
  if op[8] == '1' or not state then
    call('PEXPIRE', key, op[6])
  end
  if round == op[3] and flagged(flags, 'g') then
    local staged = read_result(op[2], call('HGET', key, 'result'))
    if staged then
      return { 'staged', staged }
    end
  end
  if flagged(flags, 'r') and not (state == 'running' and round == op[3]) then
    return 'revoked'
  end
  return deaths > 0 and { 'died', deaths } or 'run'
end
