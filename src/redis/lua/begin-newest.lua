-- begin-newest: takes ownership of tasks whose entries a consumer was handed a moment ago. For a single Redis only: it
-- touches records and control streams. Sent right behind a blocking read, it is carried out when that read has come to
-- its end, and saves a round trip.
-- include start
-- KEYS  1: list of the newest sends, each `<control stream> <entry id> <record>`
-- ARGV  1: group, 2: consumer, which is the worker id, 3: version of the worker or ''
-- Answers per task {control stream, entry id, epoch, written, created_at, attempt, '', ''}, which is what `begin` answers
-- behind the two; entries of several streams may have one id. Only the plain case is done here: a task that was never
-- begun, is not cancelled and has no time limit. All others are left to `begin`, which also bears it well if a task was
-- begun here and nobody has heard of it.
local now
local out = {}
for _, sent in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local stream, id, record = string.match(sent, '^(%S+) (%S+) (%S+)$')
  -- A group may be gone; what is pending elsewhere belongs to who has it.
  local pending = redis.pcall('XPENDING', stream, ARGV[1], id, id, 1, ARGV[2])
  if pending[1] then
    if not now then
      local time = redis.call('TIME')
      now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    end
    local created_at = start(record, id, ':' .. ARGV[2], now, ARGV[3])
    if created_at then out[#out + 1] = { stream, id, '1', '0', string.format('%.0f', created_at), '1', '', '' } end
    redis.call('LREM', KEYS[1], 1, sent)
  elseif redis.call('HGET', record, 'fence') ~= 'Q:0::' then
    redis.call('LREM', KEYS[1], 1, sent)
  end
end
return out
