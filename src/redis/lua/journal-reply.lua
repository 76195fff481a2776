-- journal-reply: delivers the end of a task, once more, to all that wait for it.
-- include answers
-- KEYS  1: record of the ended task
-- Answers who must be told (see `reply`).
local reply_to = redis.call('HGET', KEYS[1], 'reply_to')
return reply_to and reply(reply_to, {}, outcome(KEYS[1])) or {}
