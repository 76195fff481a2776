-- hold: makes the records of tasks that are held back and notes what is to be done with them later, both or neither. For a
-- single Redis only: it touches records and the agenda.
-- include clock
-- include index
-- include make
-- include note
-- KEYS  per task: record, session index, agenda (zset), its payloads (hash), its keeper (hash)
-- ARGV  per task: message id, agent type, trace id, parent message id, user code, timing (see `make`), how many items, then
--       per item: member, ms from now, payload
-- Answers per task {what `make` says, the id of the keeper if he must be woken, else ''}. What is to be done with one that was
-- sent before is noted again, unless it has begun or has its end: it needs no first turn.
local now = clock()
local out = {}
local at = 1
for i = 1, #KEYS / 5 do
  local record, agenda, payloads, keeper = KEYS[5 * i - 4], KEYS[5 * i - 2], KEYS[5 * i - 1], KEYS[5 * i]
  local made = make(now, record, KEYS[5 * i - 3], unpack(ARGV, at, at + 5))
  local goes_on = made ~= 0 or string.find(redis.call('HGET', record, 'fence'), '^[^CFXE]:0:')
  local count, woken = tonumber(ARGV[at + 6]), ''
  for item = at + 7, at + 4 + 3 * count, 3 do
    if goes_on then
      local sleeper = note(now, agenda, payloads, keeper, ARGV[item], ARGV[item + 1], ARGV[item + 2])
      if sleeper ~= '' then woken = sleeper end
    end
  end
  at = at + 7 + 3 * count
  out[i] = { made, woken }
end
return out
