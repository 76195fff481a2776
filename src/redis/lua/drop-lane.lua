-- drop-lane: removes a worker's own lane if nothing waits or runs there.
-- KEYS  1: control stream
-- Answers 1 if it was removed. What ended was deleted from its stream, so an empty one is needed by nobody; whoever
-- sends next makes it anew, and the worker its group.
if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
return redis.call('DEL', KEYS[1])
