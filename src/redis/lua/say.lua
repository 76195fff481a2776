-- say: appends events of running tasks to their sessions' data streams.
-- include clock
-- include index
-- include events
-- KEYS  per task: record, data stream, session index
-- ARGV  1-7: see include/events; then per task: fence, shape, the events, and if the shape says so the emitter's sum and the
--       id of the task's last event
-- A shape is `<first>:<last>:<events>:<sum>:<arm>:<known>`: numbers of the first event and of the last, count of events, 1 if
-- there is a sum (else it is kept as it is) or '', see include/events, 1 if the id of the last event is known or ''.
-- Answers per task the id of the last event written ('' if there was none; where the call is repeated and all was written
-- before, that of the stream's last entry), or {fence that holds} if that is not the one given: nothing was written then.

local function shape_of(text)
  local first, last, count, sum, arm, known = string.match(text, '^(%d+):(%d+):(%d+):(1?):([12]?):(1?)$')
  shapes[text] = { first = tonumber(first), last = last, count = tonumber(count), has_sum = sum ~= '', arm = arm,
    has_known = known ~= '' }
  return shapes[text]
end

local at = 8
local out = {}
for i = 1, task_count do
  local record, stream, index = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local fence, shape, events_at = ARGV[at], shapes[ARGV[at + 1]] or shape_of(ARGV[at + 1]), at + 2
  at = events_at + shape.count
  local sum = shape.has_sum and ARGV[at]
  if sum then at = at + 1 end
  local known = shape.has_known and ARGV[at]
  if known then at = at + 1 end
  local held = redis.call('HMGET', record, 'fence', 'written')
  if held[1] ~= fence then
    out[i] = { held[1] or '' }
  else
    local missing = shape.first + shape.count - 1 - (held[2] or 0)
    local arm, id = shape.arm, ''
    if missing > 0 then
      local is_new
      local last = events_at + shape.count - 1
      id, is_new = append(i, math.max(events_at, last - missing + 1), last, known, arm)
      if is_new and arm == '' then arm = '1' end
    elseif shape.count > 0 then
      -- All of it was written before. Its last id is not known any more, so whoever reads up to there reads up to the end.
      local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', '1')[1]
      id = top and top[1] or ''
    end
    if sum then
      redis.call('HSET', record, 'written', shape.last, 'sum', sum)
    elseif missing > 0 then
      redis.call('HSET', record, 'written', shape.last)
    end
    if arm ~= '' then
      local now = clock()
      relist(index, record, now)
      if arm == '2' then sweep(index, record, now) end
      expire_stream(stream, index)
    end
    out[i] = id
  end
end
return out
