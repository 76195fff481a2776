-- journal-answer: writes results of operations for those who do not own the tasks: people's replies, timers.
-- include answers
-- KEYS  per operation: record, journal
-- ARGV  per operation: operation, result (JSON), what of it is to be known without it, should it be large (JSON)
-- Answers per operation {1 if the result is this one, else 0, who must be told (see `deliver`)}; nothing follows the number
-- when the task has its end or does not know the operation.
local out = {}
for i = 1, #KEYS / 2 do
  local record, op = KEYS[2 * i - 1], ARGV[3 * i - 2]
  local tell, is_new = deliver(record, KEYS[2 * i], op, ARGV[3 * i - 1], ARGV[3 * i])
  if tell then
    table.insert(tell, 1, op)
    table.insert(tell, 1, record)
  end
  out[i] = { is_new and 1 or 0, tell }
end
return out
