-- Finish: the outcome of an attempt.
-- in:  id, token, state, round, ttl_ms, what was sent, claim (these two for a record that lacks
--      them), large result or '', result_ttl_ms ('' without a result), handed_over ('1' or '0'),
--      fields and values...
-- out: 'ok', 'lost' or 'final'
local function repeated(key, op, held, flags)
  if op[11] == '1' then
    save_flags(key, flags, without(flags, 'h'))
  end
  return holds(held, op[3]) and 'ok' or 'final'
end

-- Whether another attempt has a better right: one that runs, or the copy that was sent on and has
-- been sent on again since (a late repeat).
local function is_lost(op, held)
  local round, token = read_claim(held)
  return token ~= '' or tonumber(op[5]) < tonumber(round)
end

-- Forget a staged result, unless the outcome is the success that it was staged for.
local function unstage(key, id, op, ended)
  if op[10] ~= '' or (ended and op[4] ~= 'success') then
    call('HDEL', key, 'result')
    call('DEL', RESULT .. id)
  end
end

local function finish(op)
  local id = op[2]
  local key = TASK .. id
  local r = call('HMGET', key, 'state', 'claim', 'flags')
  local state, held, before = r[1], r[2], r[3]
  local flags, ended = before, is_final(op[4])
  if flagged(flags, 's') then
    call('HDEL', key, 'error')
  elseif not state then
    call('HSET', key, 'sent', op[7])
  elseif not may_move(state, op[4]) then
    return repeated(key, op, held, flags)
  end
  if not holds(held, op[3]) then
    if held and is_lost(op, held) then
      return 'lost'
    end
    call('HSET', key, 'claim', op[8])
  end
  if flagged(flags, 'g') then
    unstage(key, id, op, ended)
  end
  call('HSET', key, unpack(op, 12))
  if op[9] ~= '' then
    call('SET', RESULT .. id, op[9], 'PX', op[10])
  end
  -- A sixty-fourth of a life is not worth a write.
  local ttl_ms = tonumber(op[6])
  if math.abs(call('PTTL', key) - ttl_ms) > ttl_ms / 64 then
    call('PEXPIRE', key, op[6])
  end
  if flags then
    if flagged(flags, 'w') then
      tell(key, id, ended)
    end
    flags = without(without(flags, 's'), ended and '[gw]' or 's')
  end
  if ended and op[11] == '0' then
    flags = with(flags, 'h')
  end
  save_flags(key, before, flags)
  return 'ok'
end
