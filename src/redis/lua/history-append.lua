-- history-append: keeps messages of sessions, each once per task and role.
-- include clock
-- KEYS  per session: order (zset), messages (hash)
-- ARGV  1: most messages of a session, 2: their TTL (ms); then per session: count of messages; then per message: created
--       at (Unix ms) or '' for now, and the message: `<role> <message id or ''> <fencing token> <content and metadata as
--       one JSON, or '' for a message that is taken back>` (in ids `%20` stands for a space, and so on)
-- The hash has `n`, the number of the last message; per number `#<n>`: the message;
-- `=<role> <message id>`: its number; `^<message id>`: the newest token; the latter two not for a message without an id.
-- Members of the order are numbers with leading zeros, their scores the times: so equal times stand in the order of arrival.
local now
local function member(number) return string.format('%016d', number) end
local function forget(order, messages, number)
  local role, id = string.match(redis.call('HGET', messages, '#' .. number) or '', '^(%S+) (%S*) ')
  redis.call('ZREM', order, member(number))
  redis.call('HDEL', messages, '#' .. number)
  if not id or id == '' then return end
  redis.call('HDEL', messages, '=' .. role .. ' ' .. id)
  for _, other in ipairs({ 'user', 'assistant', 'system', 'tool' }) do
    if redis.call('HEXISTS', messages, '=' .. other .. ' ' .. id) == 1 then return end
  end
  redis.call('HDEL', messages, '^' .. id)
end
local most, ttl = tonumber(ARGV[1]), ARGV[2]
local at = 3
-- A key of another kind is met before anything is written: who is told to come again does not come twice.
for i = 1, #KEYS, 2 do
  redis.call('ZCARD', KEYS[i])
  redis.call('HLEN', KEYS[i + 1])
end
for i = 1, #KEYS / 2 do
  local order, messages = KEYS[2 * i - 1], KEYS[2 * i]
  local count = tonumber(ARGV[at])
  at = at + 1
  local last = 0
  for _ = 1, count do
    local created, message = ARGV[at], ARGV[at + 1]
    at = at + 2
    local role, id, token, json = string.match(message, '^(%S+) (%S*) (%d+) ()')
    local place, fence = '=' .. role .. ' ' .. id, '^' .. id
    local n, number, newest = unpack(redis.call('HMGET', messages, 'n', place, fence))
    if not newest or tonumber(newest) <= tonumber(token) then
      if json > #message then
        if number then forget(order, messages, number) end
        -- It stays, though nothing of the task may be left: what an earlier attempt says now is too late all the same.
        if id ~= '' then redis.call('HSET', messages, fence, token) end
      else
        if number then
          redis.call('HSET', messages, '#' .. number, message, fence, token)
        else
          last = (n or 0) + 1
          if created == '' then
            now = now or clock()
            created = now
          end
          redis.call('ZADD', order, created, member(last))
          if id == '' then
            redis.call('HSET', messages, 'n', last, '#' .. last, message)
          else
            redis.call('HSET', messages, 'n', last, '#' .. last, message, place, last, fence, token)
          end
        end
      end
    end
  end
  local excess = last > most and redis.call('ZCARD', order) - most or 0
  if excess > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', order, 0, excess - 1)) do forget(order, messages, tonumber(oldest)) end
  end
  redis.call('PEXPIRE', order, ttl)
  redis.call('PEXPIRE', messages, ttl)
end
