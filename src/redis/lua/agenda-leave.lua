-- agenda-leave: gives up being the keeper of an agenda.
-- KEYS  1: its keeper (hash)
-- ARGV  1: id of the caller
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
