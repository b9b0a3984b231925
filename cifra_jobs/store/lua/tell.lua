-- Tell the watchers of a record its news, as JSON; at the end also the outcome, after which they
-- are forgotten (the caller drops the flag).
-- in:  key, id, final
local function text(value)
  return value and value ~= '' and quote(value) or 'null'
end

local function tell(key, id, final)
  local f = call('HMGET', key, 'channels', 'state', 'progress', 'message', 'stage', 'meta',
    'error', 'result')
  local news = '{"id":' .. quote(id) .. ',"state":"' .. f[2] .. '","progress":' .. (f[3] or '0')
    .. ',"message":' .. text(f[4]) .. ',"stage":' .. text(f[5]) .. ',"meta":' .. (f[6] or '{}')
  if final then
    news = news .. ',"error":' .. text(f[7])
    local result = f[8] and string.match(f[8], '^%d+ (.*)$')
    if result == '@' then
      news = news .. ',"large":true'
    else
      news = news .. ',"result":' .. text(result)
    end
    call('HDEL', key, 'channels')
  end
  news = news .. '}'
  for name in string.gmatch(f[1] or '', '%S+') do
    call('PUBLISH', CHANNEL .. name, news)
  end
end
