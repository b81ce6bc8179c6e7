-- A decision by hand: the buckets have room for one more beside what they hold, or 0; then the first of them hold one more, two documents
-- and a line of the record are written, and the number of the change is returned.
--
-- KEYS: marker, record, cells, documents, leases.
-- ARGV: buckets, how many of them are held, their names, emission and burst of each, end of the lease, two documents, line of the record.
local buckets, held = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rows, cells = redis.call('HMGET', KEYS[3], unpack(ARGV, 3, 2 + buckets)), {}
for bucket = 1, buckets do
  local at, count = now, 0
  if rows[bucket] then
    local tat, holds = string.match(rows[bucket], '^(%d+) (%d+)$')
    at, count = math.max(at, tonumber(tat)), tonumber(holds)
  end
  local place = 1 + buckets + 2 * bucket
  if at + ARGV[place] * (count + 1 - ARGV[place + 1]) > now then return 0 end
  if bucket <= held then
    cells[2 * bucket - 1] = ARGV[2 + bucket]
    cells[2 * bucket] = string.format('%.0f %.0f', at, count + 1)
  end
end
local place = 3 + 3 * buckets
local sequence = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('XADD', KEYS[2], sequence .. '-0', 'body', ARGV[place + 5])
redis.call('HSET', KEYS[3], unpack(cells))
redis.call('HSET', KEYS[4], unpack(ARGV, place + 1, place + 4))
redis.call('ZADD', KEYS[5], ARGV[place], ARGV[place + 1])
return sequence
