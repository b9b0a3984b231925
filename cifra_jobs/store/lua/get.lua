-- Get: read one record.
-- in:  id
-- out: {fields and values, large result or false}, or false for an id never seen
local function get(op)
  local fields = call('HGETALL', TASK .. op[2])
  local known, large = false, false
  for i = 1, #fields, 2 do
    if fields[i] == 'state' then
      known = true
    elseif fields[i] == 'result' and string.sub(fields[i + 1], -2) == ' @' then
      large = call('GET', RESULT .. op[2])
    end
  end
  return known and { fields, large }
end
