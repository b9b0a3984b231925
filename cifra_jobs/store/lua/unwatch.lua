-- Unwatch: take a watch back.
-- in:  id, channel
-- out: 1, or 0 when there was none
local function unwatch(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'channels', 'flags')
  if not r[1] or not find_channel(r[1], op[3]) then
    return 0
  end
  local rest = ''
  for name in string.gmatch(r[1], '%S+') do
    if name ~= op[3] then
      rest = rest .. ' ' .. name
    end
  end
  if rest ~= '' then
    call('HSET', key, 'channels', rest)
  else
    call('HDEL', key, 'channels')
    save_flags(key, r[2], without(r[2], 'w'))
  end
  return 1
end
