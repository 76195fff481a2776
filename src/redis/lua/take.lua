-- take: takes new entries for a consumer, never more than a budget, one step after the other, and on a single Redis begins
-- their tasks where that is plain.
-- include clock
-- include start
-- KEYS  control streams of one slot
-- ARGV  1: group, 2: consumer, which is the worker id, 3: budget, 4: 1 if ends are wanted, 5: what the keys of records begin
--       with, '' if nothing is to be begun, 6: version of the worker or ''; then per step: first key, last key, most entries
-- Answers {{{key, entries}…}, ends, error, begun}. A step divides its room evenly among its streams; where there are more of
-- them than room, those go first that were not asked yet, then as they stand. What one does not use is left to the
-- others, then to the next step. `ends` has, per key, the id of the last entry that the group was handed, if all streams
-- were found empty: then whatever lies beyond is new. A stream that fails (its group may be gone) ends the walk; what
-- was taken before it is answered all the same. With nothing taken the failure is the answer, as an error like any other
-- (the connection is to see that a server has become read-only).
local group, consumer, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local taken, dry, visited, failure = {}, {}, {}, nil

-- So many are asked at once: each takes two places on Lua's stack, which ends at some 8,000.
local MOST_ASKED = 2000

local function read(keys, count)
  local args = { 'GROUP', group, consumer, 'COUNT', count, 'STREAMS' }
  for _, key in ipairs(keys) do args[#args + 1] = KEYS[key] end
  for _ = 1, #keys do args[#args + 1] = '>' end
  return redis.pcall('XREADGROUP', unpack(args))
end

for step = 7, #ARGV, 3 do
  local room = math.min(left, tonumber(ARGV[step + 2]))
  local open, again = {}, {}
  for key = tonumber(ARGV[step]), tonumber(ARGV[step + 1]) do
    if visited[key] then again[#again + 1] = key elseif not dry[key] then open[#open + 1] = key end
  end
  for _, key in ipairs(again) do
    if not dry[key] then open[#open + 1] = key end
  end
  -- A queue: who was asked and may have more stands behind the others. With thousands of streams a new list for each read
  -- took several times as long as the reads.
  local first, last = 1, #open
  while room > 0 and first <= last and not failure do
    local asked = {}
    local each = math.floor(room / math.min(room, last - first + 1))
    for _ = 1, math.min(room, MOST_ASKED, last - first + 1) do
      asked[#asked + 1] = open[first]
      first = first + 1
    end
    local reply = read(asked, each)
    if reply and reply.err then
      failure = reply
      break
    end
    local counts = {}
    for _, stream in ipairs(reply or {}) do
      taken[#taken + 1] = stream
      counts[stream[1]] = #stream[2]
      room, left = room - #stream[2], left - #stream[2]
    end
    for _, key in ipairs(asked) do
      visited[key] = true
      if (counts[KEYS[key]] or 0) < each then
        dry[key] = true
      else
        last = last + 1
        open[last] = key
      end
    end
  end
end

if failure and #taken == 0 then return failure end
local ends = {}
if ARGV[4] == '1' and left > 0 and not failure then
  for i, key in ipairs(KEYS) do
    for _, flat in ipairs(redis.pcall('XINFO', 'GROUPS', key)) do
      local info = {}
      for at = 1, #flat, 2 do info[flat[at]] = flat[at + 1] end
      if info.name == group then ends[i] = info['last-delivered-id'] end
    end
  end
end

-- In the order of the entries what `begin` would say, or 0 where it has to be asked. An entry names the record of its task
-- in its second field; whoever wrote another one there is found out by the worker. What is taken is taken: no error of a
-- record may hide that.
local begun = {}
if ARGV[5] ~= '' and #taken > 0 then
  local now = clock()
  local owner = ':' .. consumer
  for _, stream in ipairs(taken) do
    for _, entry in ipairs(stream[2]) do
      local fields = entry[2]
      local ok, made = false, nil
      if fields[3] == 'task' and not fields[5] then
        ok, made = pcall(start, ARGV[5] .. fields[4], entry[1], owner, now, ARGV[6])
      end
      begun[#begun + 1] = ok and tonumber(made) or 0
    end
  end
end
return { taken, ends, failure and failure.err or '', begun }
