-- commit: appends events of running attempts to their sessions' data streams and, where asked, ends the task.
-- KEYS  per task: record, data stream, session index
-- ARGV  1: TTL of a finished record (ms), 2: TTL of a data stream (ms), 3: length bound of a data stream,
--       4: PUBLISH or SPUBLISH; then per task:
--       fence, number of the first event, count of events, 1 if the stream's TTL is to be re-armed,
--       state of the end or '', message id, count of further fields, the events, the further fields
-- Answers per task the id of the last event written ('' if there was none), or {fence that holds} if the attempt is
-- not the owner any more; nothing was written then.
-- Events are numbered through the task, and the record keeps the highest number written: a call that is repeated after
-- a lost answer appends only what is missing. One push carries all events of the call: `<id before> <ids…>\n<event>\n…`.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now)
local record_ttl, stream_ttl, max_length, publish = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local at = 5
local out = {}
for i = 1, #KEYS / 3 do
  local record, stream, index = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local fence, first, count, arm = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local ending, message_id, fields = ARGV[at + 4], ARGV[at + 5], tonumber(ARGV[at + 6])
  local events_at = at + 7
  local fields_at = events_at + count
  at = fields_at + fields
  local held = redis.call('HMGET', record, 'fence', 'written')
  if held[1] ~= fence then
    out[i] = { held[1] or '' }
  else
    local written = tonumber(held[2] or '0')
    local last = first + count - 1
    local id = ''
    if last > written then
      local from = math.max(first, written + 1)
      local before = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
      local ids, bodies = { before[1] and before[1][1] or '0-0' }, {}
      for number = from, last do
        local body = ARGV[events_at + number - first]
        if number == last then
          id = redis.call('XADD', stream, 'MAXLEN', '~', max_length, '*', 'data', body)
        else
          id = redis.call('XADD', stream, '*', 'data', body)
        end
        ids[#ids + 1] = id
        bodies[#bodies + 1] = body
      end
      redis.call(publish, stream, table.concat(ids, ' ') .. '\n' .. table.concat(bodies, '\n'))
      if arm == '1' then redis.call('PEXPIRE', stream, stream_ttl) end
    end
    if ending ~= '' then
      local change = { 'fence', ending .. string.sub(fence, 2), 'written', last, 'finished_at', now_text, 'end_id', id }
      for f = 1, fields do change[8 + f] = ARGV[fields_at + f - 1] end
      redis.call('HSET', record, unpack(change))
      redis.call('PEXPIRE', record, record_ttl)
      redis.call('ZADD', index, string.format('%.0f', now + record_ttl), message_id)
      redis.call('ZREMRANGEBYSCORE', index, '-inf', now_text)
      if redis.call('ZCOUNT', index, '+inf', '+inf') == 0 then redis.call('PEXPIRE', index, record_ttl) end
    elseif last > written then
      redis.call('HSET', record, 'written', last)
    end
    out[i] = id
  end
end
return out
