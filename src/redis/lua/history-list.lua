-- history-list: reads a piece of a session's history.
-- KEYS  1: order, 2: messages
-- ARGV  1: most messages, 2: the number of the message before which to look, or '', 3: its time (Unix ms)
-- Answers {number, created at, message}… from the newest to the oldest. The message before which to look may be gone, because
-- it was taken back: its place tells all the same what came before it.
local from = 0
if ARGV[2] ~= '' then
  local member = string.format('%016d', ARGV[2])
  local rank = redis.call('ZREVRANK', KEYS[1], member)
  if rank then
    from = rank + 1
  else
    from = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[3], '+inf')
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[3], ARGV[3])) do
      if other > member then from = from + 1 end
    end
  end
end
local out = {}
local found = redis.call('ZREVRANGE', KEYS[1], from, from + ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local number = string.format('%.0f', tonumber(found[i]))
  out[#out + 1] = { number, found[i + 1], redis.call('HGET', KEYS[2], '#' .. number) or '' }
end
return out
