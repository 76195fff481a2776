-- history-append: keeps messages of sessions, each once per task and role.
-- KEYS  per session: order (zset), messages (hash)
-- ARGV  1: most messages of a session, 2: their TTL (ms); then per session: count of messages; then per message: role,
--       message id or '', fencing token, created at (Unix ms) or '' for now, content and metadata as one JSON or '' for a
--       message that is taken back
-- Answers how many were kept. The hash has `n`, the number of the last message; per number `#<n>`: `<role> <message id>
-- <token> <json>` (ids hold no spaces); `=<role> <message id>`: its number; `^<message id>`: the newest token. Members of
-- the order are numbers with leading zeros, their scores the times: so equal times stand in the order of arrival.
local now
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  end
  return now
end
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
local kept = 0
for i = 1, #KEYS / 2 do
  local order, messages = KEYS[2 * i - 1], KEYS[2 * i]
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    local role, id, token, created, json = unpack(ARGV, at, at + 4)
    at = at + 5
    local newest = id ~= '' and redis.call('HGET', messages, '^' .. id)
    if not newest or tonumber(newest) <= tonumber(token) then
      local number = id ~= '' and redis.call('HGET', messages, '=' .. role .. ' ' .. id)
      if newest and newest ~= token then redis.call('HSET', messages, '^' .. id, token) end
      if json == '' then
        if number then forget(order, messages, number) end
      else
        if not number then
          number = redis.call('HINCRBY', messages, 'n', 1)
          redis.call('ZADD', order, created == '' and clock() or created, member(number))
          if id ~= '' then redis.call('HSET', messages, '=' .. role .. ' ' .. id, number, '^' .. id, token) end
        end
        redis.call('HSET', messages, '#' .. number, role .. ' ' .. id .. ' ' .. token .. ' ' .. json)
        kept = kept + 1
      end
    end
  end
  local excess = redis.call('ZCARD', order) - most
  if excess > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', order, 0, excess - 1)) do forget(order, messages, tonumber(oldest)) end
  end
  redis.call('PEXPIRE', order, ttl)
  redis.call('PEXPIRE', messages, ttl)
end
return kept
