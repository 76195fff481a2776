-- withdraw: takes an entry off a control stream that its group has not been handed yet.
-- KEYS  1: control stream
-- ARGV  1: group, 2: id of the entry
-- Answers 1 if it was taken off: then nobody has it, and nobody ever will.
local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local ms, sequence = parts(ARGV[2])
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for at = 1, #flat, 2 do info[flat[at]] = flat[at + 1] end
  if info.name == ARGV[1] then
    local last_ms, last_sequence = parts(info['last-delivered-id'])
    if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then return 0 end
  end
end
return redis.call('XDEL', KEYS[1], ARGV[2])
