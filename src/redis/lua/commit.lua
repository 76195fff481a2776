-- commit: appends events of a task to its session's data stream and, where asked, ends or parks the task.
-- include answers
-- KEYS  per task: record, data stream, session index
-- ARGV  1: TTL of a finished record (ms), 2: TTL of a data stream (ms), 3: TTL of a session index (ms),
--       4: length bound of a data stream, 5: PUBLISH or SPUBLISH, 6: NUMSUB or SHARDNUMSUB; then per task:
--       fence, number of the first event (0: whatever comes next), count of events, 1 if the session's TTLs are to be
--       re-armed and what has expired is to be swept, the fence to go over to or '', message id, count of further
--       fields, the emitter's sum or '' (kept as it is), the events, the fields
-- Answers per task the id of the last event written ('' if there was none), or {fence that holds} if that is not the
-- one given, or {fence, cancel} if the task must not end as it would because it is cancelled; nothing was written then.
-- Or {'+', id of the last event, who must be told (see `reply`)...} for the end of a task for which others wait.
-- The fence is a compare-and-set: the owner of an attempt gives his, and whoever ends a task that nobody owns gives the
-- one he read. A fence to go over to with C, F, X or E is an end; with T the attempt failed and the next one is due
-- after as many ms as its first field, `due_at`, says. A cancelled task goes over to X and nothing else.
-- Who ends a task from outside (with the number 0) may leave an entry of it on a control stream, and that must not meet
-- a record that is gone, or the task would run. So the record gets its time to live only when the entry has been seen
-- off, by `begin` or `retire`; `keep_ms` says how long it is.
-- Events are numbered through the task, and the record keeps the highest number written: a call that is repeated after
-- a lost answer appends only what is missing. One push carries all events of the call: `<id before> <ids…>\n<event>\n…`.
-- Nobody listening, nothing is pushed: a reader subscribes first and then reads the stream.
-- What costs here is the number of redis.call, so all that can wait for the next re-arming does.
local now
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return now
end
-- A session's index outlives the longest wait in it.
local function lasts(index, ttl)
  if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, string.format('%.0f', ttl)) end
end
local record_ttl, stream_ttl, index_ttl, max_length, publish = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local numsub = ARGV[6]
local at = 7
local out = {}
for i = 1, #KEYS / 3 do
  local record, stream, index = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local fence, first, count, arm = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
  local ending, message_id, fields = ARGV[at + 4], ARGV[at + 5], tonumber(ARGV[at + 6])
  local sum = ARGV[at + 7]
  local events_at = at + 8
  local fields_at = events_at + count
  at = fields_at + fields
  local letter = string.sub(ending, 1, 1)
  local held = redis.call('HMGET', record, 'fence', 'written', 'cancel', 'journal', 'reply_to')
  if held[1] ~= fence then
    -- The answer to an end may have been lost: those who wait are told again.
    local is_repeated = held[5] and letter ~= 'T' and held[1] == ending
    out[i] = is_repeated and reply(record, held[5], { '+', '' }) or { held[1] or '' }
  elseif held[3] and ending ~= '' and letter ~= 'X' then
    out[i] = { fence, held[3] }
  else
    local written = tonumber(held[2] or '0')
    local outside = first == 0
    if outside then first = written + 1 end
    local last = first + count - 1
    local id = ''
    if last > written then
      local from = math.max(first, written + 1)
      local push
      if redis.call('PUBSUB', numsub, stream)[2] > 0 then
        local before = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
        push = { before[1] and before[1][1] or '0-0' }
      end
      for number = from, last do
        local body = ARGV[events_at + number - first]
        if number > from then
          id = redis.call('XADD', stream, '*', 'data', body)
        else
          id = redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', max_length, '*', 'data', body)
          if not id then
            -- A stream that is new, whatever became of an older one, has no TTL yet.
            id = redis.call('XADD', stream, '*', 'data', body)
            arm = true
          end
        end
        if push then
          push[1] = push[1] .. ' ' .. id
          push[#push + 1] = body
        end
      end
      if push then redis.call(publish, stream, table.concat(push, '\n')) end
    end
    if letter == 'T' then
      if arm or redis.call('PTTL', stream) ~= -1 then lasts(index, index_ttl + ARGV[fields_at + 1]) end
      ARGV[fields_at + 1] = string.format('%.0f', clock() + ARGV[fields_at + 1])
      redis.call('HSET', record, 'fence', ending, 'written', last, unpack(ARGV, fields_at, fields_at + fields - 1))
    elseif ending ~= '' then
      redis.call('HSET', record, 'fence', ending, 'written', last, 'finished_at', string.format('%.0f', clock()),
        'end_id', id, unpack(ARGV, fields_at, fields_at + fields - 1))
      if outside and (fence == 'Q:0::' or string.sub(fence, 1, 1) == 'R') then
        redis.call('HSET', record, 'keep_ms', record_ttl)
      else
        redis.call('PEXPIRE', record, record_ttl)
      end
      if held[4] then
        -- A suspension has taken the time to live from the session's keys.
        arm = arm or redis.call('PTTL', stream) == -1
        redis.call('UNLINK', held[4], redis.call('HGET', record, 'blobs') or held[4])
        redis.call('HDEL', record, 'journal', 'blobs', 'sum', 'envelope', 'home', 'waits_for')
      end
    elseif sum ~= '' then
      redis.call('HSET', record, 'written', last, 'sum', sum)
    elseif last > written then
      redis.call('HSET', record, 'written', last)
    end
    if arm then
      -- The oldest tasks of the session leave the index when their records have expired.
      local home = string.sub(record, 1, -#message_id - 1)
      local is_awaited = false
      for _, oldest in ipairs(redis.call('ZRANGE', index, 0, 99)) do
        local state = redis.call('HGET', home .. oldest, 'fence')
        if not state then
          redis.call('ZREM', index, oldest)
        elseif string.sub(state, 1, 1) == 'W' then
          is_awaited = true
        end
      end
      -- Who is suspended will need what was said before, however long that takes; see `suspend`.
      if is_awaited then
        redis.call('PERSIST', stream)
        redis.call('PERSIST', index)
      else
        redis.call('PEXPIRE', stream, stream_ttl)
        lasts(index, tonumber(index_ttl))
      end
    end
    out[i] = id
    if held[5] and ending ~= '' and letter ~= 'T' then out[i] = reply(record, held[5], { '+', id }) end
  end
end
return out
