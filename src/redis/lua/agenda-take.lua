-- agenda-take: what is due now, for the one keeper of an agenda, and what is to be put on a stream soon.
-- include clock
-- KEYS  1: agenda (zset), 2: its payloads (hash), 3: its keeper (hash)
-- ARGV  1: id of the caller, 2: for how long it is keeper from now (ms), 3: most items, 4: after how long an item that
--       was taken and not removed is due again (ms), 5: longest sleep (ms), 6: about the most bytes of payload, 7: how long
--       before it is due an item `ready` is handed out (ms), 8: the 4th for such an item, counted from when it is due
-- The score of an item that was handed out ends with .5: see `agenda-cancel`.
-- Answers {ms until the keeper's time runs out} to anybody but the keeper, else {ms until it should ask again, now,
-- member, payload, ms until it is due, ...}.
local now = tonumber(clock())
local agenda, payloads, keeper = KEYS[1], KEYS[2], KEYS[3]
local id = redis.call('HGET', keeper, 'id')
if id and id ~= ARGV[1] then
  local left = redis.call('PTTL', keeper)
  -- More than it can be: the server's clock has gone back. Two keepers do no harm, none for hours does.
  if left >= 0 and left <= tonumber(ARGV[2]) then return { left } end
end
local ahead = tonumber(ARGV[7])
local found = redis.call('ZRANGEBYSCORE', agenda, '-inf', string.format('%.0f', now + ahead), 'WITHSCORES', 'LIMIT', 0,
  ARGV[3])
local members, waits = {}, {}
for i = 1, #found, 2 do
  local wait = math.max(found[i + 1] - now, 0)
  if wait == 0 or string.sub(found[i], 1, 6) == 'ready ' then
    members[#members + 1] = found[i]
    waits[#waits + 1] = wait
  end
end
local out = { 0, now }
local again = string.format('%.0f.5', now + ARGV[4])
local bytes = 0
for from = 1, #members, 50 do
  local upto = math.min(from + 49, #members)
  local texts = redis.call('HMGET', payloads, unpack(members, from, upto))
  local scores = {}
  for i = from, upto do
    local text = texts[i - from + 1] or ''
    out[#out + 1] = members[i]
    out[#out + 1] = text
    out[#out + 1] = waits[i]
    bytes = bytes + #text
    scores[#scores + 1] = waits[i] == 0 and again or string.format('%.0f.5', now + waits[i] + ARGV[8])
    scores[#scores + 1] = members[i]
  end
  redis.call('ZADD', agenda, unpack(scores))
  if bytes >= tonumber(ARGV[6]) then break end
end
local pause = tonumber(ARGV[5])
local first = redis.call('ZRANGE', agenda, 0, 0, 'WITHSCORES')
if first[2] then
  local wait = first[2] - now
  if string.sub(first[1], 1, 6) == 'ready ' then wait = wait - ahead end
  pause = math.min(pause, math.max(wait, 0))
end
redis.call('HSET', keeper, 'id', ARGV[1], 'wakes_at', string.format('%.0f', now + pause))
redis.call('PEXPIRE', keeper, ARGV[2])
out[1] = pause
return out
