-- hand-over: puts an envelope on the lane of a version.
-- KEYS  1: control stream
-- ARGV  1: envelope, 2: turn
-- Answers the entry's id. A lane that holds something does not expire; see `tend`.
redis.call('PERSIST', KEYS[1])
return redis.call('XADD', KEYS[1], '*', 'data', ARGV[1], 'turn', ARGV[2])
