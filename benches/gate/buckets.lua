-- Four buckets by hand: each has room for one more beside what it holds, or 0; then each holds one more.
--
-- KEYS: cells. ARGV: for each bucket its name, emission interval and burst.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rows, cells = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[4], ARGV[7], ARGV[10]), {}
for bucket = 1, 4 do
  local at, count, place = now, 0, 3 * bucket
  if rows[bucket] then
    local tat, holds = string.match(rows[bucket], '^(%d+) (%d+)$')
    at, count = math.max(at, tonumber(tat)), tonumber(holds)
  end
  if at + ARGV[place - 1] * (count + 1 - ARGV[place]) > now then return 0 end
  cells[2 * bucket - 1] = ARGV[place - 2]
  cells[2 * bucket] = string.format('%.0f %d', at, count + 1)
end
redis.call('HSET', KEYS[1], unpack(cells))
return 1
