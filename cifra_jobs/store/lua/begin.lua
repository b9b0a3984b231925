-- Shared by all parts. Keys, fields and flags: store/keys.py.
-- ARGV[1]: JSON, a list of operations; ARGV[2]: namespace.
-- An operation is a list: its verb, then texts (numbers too: a stored number would be formatted
-- anew at each write), at the end often fields and values that go into HSET as they are.
local call = redis.call
local quote = cjson.encode
local find = string.find
local TASK = ARGV[2] .. ':t:'
local RESULT = ARGV[2] .. ':r:'
local WORKER = ARGV[2] .. ':w:'
local WORKERS = ARGV[2] .. ':workers'
local CHANNEL = ARGV[2] .. ':c:'

local function may_move(from, to)
  return find(arrows_of(from), ' ' .. to .. ' ', 1, true) ~= nil
end

local function is_final(state)
  return arrows_of(state) == ''
end

-- A claim: whether a token holds it; its round, token ('' when nobody holds it) and worker.
local function holds(claim, token)
  return claim and find(claim, ' ' .. token .. ' ', 1, true) ~= nil
end

local function read_claim(claim)
  return string.match(claim, '^(%d+) (%S*) (.*)$')
end

-- Flags, as text or false.
local function flagged(flags, letter)
  return flags and find(flags, letter, 1, true) ~= nil
end

local function with(flags, letter)
  return flagged(flags, letter) and flags or (flags or '') .. letter
end

local function without(flags, letter)
  return flags and (string.gsub(flags, letter, ''))
end

local function save_flags(key, before, flags)
  if flags ~= before then
    call('HSET', key, 'flags', flags)
  end
end

-- When a task that waits ends: its last run keeps all but the end.
local function ended_at(key, now)
  local run = call('HGET', key, 'run') or '0 - -'
  return (string.gsub(run, '%S+$', now))
end

-- A key that some other field created first would live for ever without this.
local function expire_at_last(key, ttl_ms)
  if call('PTTL', key) < 0 then
    call('PEXPIRE', key, ttl_ms)
  end
end

-- The text of a stored result, or false.
local function read_result(id, stored)
  local text = stored and string.match(stored, '^%d+ (.*)$')
  if text == '@' then
    return call('GET', RESULT .. id)
  end
  return text or false
end
