-- Watch: read one record and ask for its news.
-- in:  id, channel, how long the watch waits for an id never seen (ms)
-- out: as `get`
local function find_channel(channels, name)
  return find(' ' .. channels .. ' ', ' ' .. name .. ' ', 1, true)
end

local function watch(op)
  local key = TASK .. op[2]
  local r = call('HMGET', key, 'state', 'channels', 'flags')
  local channels = r[2] or ''
  if not (r[1] and is_final(r[1])) then
    if not find_channel(channels, op[3]) then
      call('HSET', key, 'channels', channels .. ' ' .. op[3], 'flags', with(r[3], 'w'))
    end
    expire_at_last(key, op[4])
  end
  return get(op)
end
