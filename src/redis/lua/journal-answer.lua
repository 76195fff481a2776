-- journal-answer: writes the result of an operation for those who do not own the task: people's replies, timers.
-- include answers
-- KEYS  1: record, 2: journal
-- ARGV  1: operation, 2: result (JSON), 3: what of it is to be known without it, should it be large (JSON)
-- Answers {1 if the result is this one, else 0, who must be told (see `deliver`)}; nothing follows the number when the
-- task has its end or does not know the operation.
local tell, is_new = deliver(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
if not tell then return { 0 } end
table.insert(tell, 1, ARGV[1])
table.insert(tell, 1, KEYS[1])
return { is_new and 1 or 0, tell }
