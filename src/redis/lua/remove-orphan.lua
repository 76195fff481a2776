-- remove-orphan: removes the journal of a task that has no record, in the background of the server.
-- KEYS  1: record, 2: the journal, or what lies beside it
-- Answers 1 if it was removed; 0 also where there is a record by now, of the same task sent again.
if redis.call('HEXISTS', KEYS[1], 'fence') == 1 then return 0 end
return redis.call('UNLINK', KEYS[2])
