-- Apply the operations in order; out: one reply for each.
local VERBS = {
  create = create, fail_send = fail_send, claim = claim, start = start, progress = progress,
  stage = stage, finish = finish, release = release, revoke = revoke, get = get, watch = watch,
  unwatch = unwatch, beat = beat, gone = gone, live = live,
}
local replies = {}
for i, op in ipairs(cjson.decode(ARGV[1])) do
  replies[i] = VERBS[op[1]](op)
end
return replies
