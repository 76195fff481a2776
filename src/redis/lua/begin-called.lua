-- begin-called: takes ownership of called tasks whose entries a consumer was handed a moment ago. For a single Redis only:
-- it touches records and control streams. Sent right behind a blocking read, it is carried out when that read has come to
-- its end, and saves a round trip.
-- KEYS  1: list of the newest calls, each `<control stream> <entry id> <record>`
-- ARGV  1: group, 2: consumer, which is the worker id, 3: version of the worker or ''
-- Answers per task {control stream, entry id, epoch, written, created_at, attempt, '', ''}, which is what `begin` answers
-- behind the two; entries of several streams may have one id. Only the plain case is done here: a task that was never
-- begun, is not cancelled and has no time limit. All others are left to `begin`, which also bears it well if a task was
-- begun here and nobody has heard of it.
local now
local out = {}
for _, call in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local stream, id, record = string.match(call, '^(%S+) (%S+) (%S+)$')
  local held = redis.call('HMGET', record, 'fence', 'cancel', 'journal', 'expires_at', 'written', 'created_at')
  local is_plain = held[1] == 'Q:0::' and not (held[2] or held[3] or held[4])
  local pending = is_plain and redis.pcall('XPENDING', stream, ARGV[1], id, id, 1, ARGV[2])
  -- A group may be gone; what is pending elsewhere belongs to who has it.
  if pending and pending[1] then
    if not now then
      local time = redis.call('TIME')
      now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    end
    redis.call('HSET', record, 'fence', 'R:1:' .. id .. ':' .. ARGV[2], 'started_at', now, 'attempt', 1)
    if ARGV[3] ~= '' then redis.call('HSET', record, 'version', '1 ' .. ARGV[3]) end
    out[#out + 1] = { stream, id, '1', held[5] or '0', held[6] or now, '1', '', '' }
  end
  if not is_plain or (pending and pending[1]) then redis.call('LREM', KEYS[1], 1, call) end
end
return out
