-- tend: gives the lane of a version that holds nothing a time to live, so that old versions leave no lanes behind. Only
-- `hand-over` adds to an empty one, and takes that time away in the same breath.
-- KEYS  1: control stream
-- ARGV  1: time to live (ms)
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) else redis.call('PERSIST', KEYS[1]) end
