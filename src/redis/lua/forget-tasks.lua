-- forget-tasks: removes the records and journals of a session's tasks, as far as nothing can run them any more.
-- KEYS  per task: record, journal
-- ARGV  per task: 1 if its entry was withdrawn from its control stream, so that nothing waits for it
-- Answers per task 1 if it is gone; 0 if it has no end, or was ended from outside and its entry was not seen off yet: an
-- entry that finds no record could run again. Of such a task all goes but what keeps its entry from running, and that
-- goes when the entry is seen off.
local out = {}
for i = 1, #KEYS / 2 do
  local record, journal = KEYS[2 * i - 1], KEYS[2 * i]
  local held = redis.call('HMGET', record, 'fence', 'keep_ms')
  local is_ended = not held[1] or string.find('CFXE', string.sub(held[1], 1, 1), 1, true)
  out[i] = 0
  if is_ended then
    if not held[2] or ARGV[i] == '1' then
      redis.call('UNLINK', record, journal)
      out[i] = 1
    else
      redis.call('UNLINK', journal)
      redis.call('HDEL', record, 'result', 'content', 'error', 'failure_log', 'envelope', 'cancel', 'user_code', 'reply_to')
      redis.call('HSET', record, 'keep_ms', 1)
    end
  end
end
return out
