-- agenda-take: what is due now, for the one keeper of an agenda.
-- KEYS  1: agenda (zset), 2: its payloads (hash), 3: its keeper (hash)
-- ARGV  1: id of the caller, 2: for how long it is keeper from now (ms), 3: most items, 4: after how long an item that
--       was taken and not removed is due again (ms), 5: longest sleep (ms), 6: about the most bytes of payload
-- Answers {0, ms until the keeper's time runs out} to anybody but the keeper, else {ms until it should ask again,
-- member, payload, member, payload, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local agenda, payloads, keeper = KEYS[1], KEYS[2], KEYS[3]
local id = redis.call('HGET', keeper, 'id')
if id and id ~= ARGV[1] then
  local left = redis.call('PTTL', keeper)
  -- More than it can be: the server's clock has gone back. Two keepers do no harm, none for hours does.
  if left >= 0 and left <= tonumber(ARGV[2]) then return { 0, left } end
end
local due = redis.call('ZRANGEBYSCORE', agenda, '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
local out = { 0 }
local again = string.format('%.0f', now + ARGV[4])
local bytes = 0
for from = 1, #due, 50 do
  local upto = math.min(from + 49, #due)
  local texts = redis.call('HMGET', payloads, unpack(due, from, upto))
  local scores = {}
  for i = from, upto do
    out[#out + 1] = due[i]
    out[#out + 1] = texts[i - from + 1] or ''
    bytes = bytes + #out[#out]
    scores[#scores + 1] = again
    scores[#scores + 1] = due[i]
  end
  redis.call('ZADD', agenda, 'XX', unpack(scores))
  if bytes >= tonumber(ARGV[6]) then break end
end
local pause = tonumber(ARGV[5])
local first = redis.call('ZRANGE', agenda, 0, 0, 'WITHSCORES')
if first[2] then pause = math.min(pause, math.max(tonumber(first[2]) - now, 0)) end
redis.call('HSET', keeper, 'id', ARGV[1], 'wakes_at', string.format('%.0f', now + pause))
redis.call('PEXPIRE', keeper, ARGV[2])
out[1] = pause
return out
