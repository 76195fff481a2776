-- withdraw: takes an entry off a control stream that its group has not been handed yet.
-- KEYS  1: control stream
-- ARGV  1: group, '' for all that there are, 2: id of the entry, 3: 1 if it is to go also from who has it: of a lane whose one
--       worker may never come back to see it off
-- Answers 1 if it was taken off: then nobody has it, and nobody ever will, or can do no more with it than this. 2 if it is
-- neither there nor pending, as when this is repeated after a lost answer. 0 also where other groups read the stream and
-- that one does not, so that the name is wrong, and for an entry that is pending in any group. A stream that no group reads
-- goes with its last entry, and so does such a lane.
local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 2 end
local ms, sequence = parts(ARGV[2])
local groups = {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for at = 1, #flat, 2 do info[flat[at]] = flat[at + 1] end
  groups[#groups + 1] = info
end
local goes_anyway = ARGV[3] == '1'

local function left_alone()
  if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then return 0 end
  for _, info in ipairs(groups) do
    if #redis.call('XPENDING', KEYS[1], info.name, ARGV[2], ARGV[2], 1) > 0 then return 0 end
  end
  return 2
end

local is_known = #groups == 0 or ARGV[1] == ''
for _, info in ipairs(groups) do
  if goes_anyway then
    redis.call('XACK', KEYS[1], info.name, ARGV[2])
  else
    if ARGV[1] == '' or info.name == ARGV[1] then
      is_known = true
      local last_ms, last_sequence = parts(info['last-delivered-id'])
      if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then return left_alone() end
    end
    if #redis.call('XPENDING', KEYS[1], info.name, ARGV[2], ARGV[2], 1) > 0 then return 0 end
  end
end
if not is_known then return 0 end
local removed = redis.call('XDEL', KEYS[1], ARGV[2])
if (#groups == 0 or goes_anyway) and redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
return removed == 1 and 1 or 2
