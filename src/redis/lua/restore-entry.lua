-- restore-entry: makes an entry pending again that was delivered, is not pending any more, and still lies on its stream.
-- KEYS  1: control stream
-- ARGV  1: group, 2: consumer it is given to, 3: entry id
-- Answers 1 if it is pending now by this call, as one whose lease has run out: any worker takes it over, in place and
-- with all its fields. An entry that is pending already is not touched.
if redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1] then return 0 end
if not redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1] then return 0 end
-- A month: longer than any lease.
return #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', 2592000000, 'FORCE', 'JUSTID')
