-- history-list: reads a piece of a session's history.
-- KEYS  1: order, 2: messages
-- ARGV  1: most messages, 2: the number of the message before which to look, or ''
-- Answers {number, created at, message}… from the newest to the oldest; nothing before a message that is gone, because the
-- oldest go first.
local from = 0
if ARGV[2] ~= '' then
  local rank = redis.call('ZREVRANK', KEYS[1], string.format('%016d', ARGV[2]))
  if not rank then return {} end
  from = rank + 1
end
local out = {}
local found = redis.call('ZREVRANGE', KEYS[1], from, from + ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local number = string.format('%.0f', tonumber(found[i]))
  out[#out + 1] = { number, found[i + 1], redis.call('HGET', KEYS[2], '#' .. number) or '' }
end
return out
