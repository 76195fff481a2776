-- forget-tasks: removes the records and journals of a session's tasks, as far as nothing can run them any more, and takes
-- those that have their end off its index, which goes with the last of them.
-- include clock
-- KEYS  1: session index; then per task: record, journal
-- ARGV  per task what is known of its entry: '' nothing; 'unseen' it was looked for and lies on no control stream; 'gone' it
--       lay there and will not come again
-- Answers per task 1 if it is gone; 0 if it has no end, or was ended from outside and its entry was not seen off yet: an
-- entry that finds no record could run again. Of such a task all goes but what keeps its entry from running, and that
-- goes when the entry is seen off. Where an entry must be expected the record has no time to live (see `conclude`). A task
-- that nobody owned at its end had none on a stream, or one that may come: the keeper of the agenda may have it in hand.
local IN_HAND_FROM, IN_HAND_TO, IN_HAND_MS = -10000, 1000, 10000
local now = clock()
local out = {}
for i = 1, #ARGV do
  local record, journal, entry = KEYS[2 * i], KEYS[2 * i + 1], ARGV[i]
  local held = redis.call('HMGET', record, 'fence', 'keep_ms', 'due_at')
  local is_ended = not held[1] or string.find('CFXE', string.sub(held[1], 1, 1), 1, true)
  out[i] = 0
  if is_ended then
    redis.call('ZREM', KEYS[1], string.match(record, '}:([^}]*)$'))
    local is_open = held[2] or (held[1] and string.sub(held[1], -1) == ':')
    local is_unseen = is_open and entry == 'unseen' and redis.call('PTTL', record) >= 0
    local due_in = is_unseen and held[3] and held[3] - now
    local is_in_hand = due_in and due_in > IN_HAND_FROM and due_in < IN_HAND_TO
    if not is_open or entry == 'gone' or (is_unseen and not is_in_hand) then
      redis.call('UNLINK', record, journal)
      out[i] = 1
    else
      redis.call('UNLINK', journal)
      redis.call('HDEL', record, 'result', 'content', 'error', 'failure_log', 'envelope', 'cancel', 'user_code', 'reply_to')
      redis.call('HSET', record, 'keep_ms', 1)
      if is_in_hand then
        redis.call('PEXPIRE', record, IN_HAND_MS)
        out[i] = 1
      end
    end
  end
end
-- What is left may be the count of those without an end.
if redis.call('ZCARD', KEYS[1]) == 1 and redis.call('ZSCORE', KEYS[1], '') then redis.call('DEL', KEYS[1]) end
return out
