-- One step of a ledger, whole or not at all: `Page::carry_out` of page.rs in Lua, held equal to it by tests/ledger/model.rs.
--
-- KEYS: the marker, the record, and the realm's rows and leases. All lie in one slot of a cluster.
-- ARGV: what wire.rs writes, in the order in which it is read here: all numbers in one text of MessagePack, the realm, and then names and
-- texts. What costs is each value and each byte: Lua computes a hash of every text. So what is both a document and a line of the record
-- comes once.
--
-- A row is a cell, "TAT HELD ASKED", or a document, "VERSION BODY"; documents' names begin with a full stop. Times are whole microseconds and,
-- as all numbers here, less than 2^53: doubles are exact. (`..` writes 14 digits of a number, `call` all; what is stored in a text goes through
-- %.0f, counts of 32 bits through %d, which is faster.) Nothing is written before all has been read and decided.
local call, unpack, tonumber, format, max, min = redis.call, unpack, tonumber, string.format, math.max, math.min
local DONE, BLOCKED, MOVED, WENT_BACK, NO_LEDGER, NEWER, BAD_ROW = 0, 1, 2, 3, 4, 5, 6
local HOLD, SPEND, RELEASE, CHARGE, TRY, RAISE = 0, 1, 2, 3, 4, 5
local NEVER = -math.huge -- The TAT of a bucket that nobody has spent from.
local LAST = 9007199254740991 -- The last instant, in the year 2255.
local OVERDUE_MAX, ASK_AGAIN = 64, 60000000
local SPREAD = 4000 -- How many values `unpack` may spread at once.

-- All numbers, one after the other; what there is none of is `false`. Spread at once they cost half of what an array in MessagePack does.
local numbers = {}
if #ARGV[1] <= SPREAD then
  numbers = {cmsgpack.unpack(ARGV[1])}
else
  local offset = 0
  while offset >= 0 do
    local some = {cmsgpack.unpack_limit(ARGV[1], SPREAD, offset)}
    offset = some[1]
    for place = 2, #some do
      numbers[#numbers + 1] = some[place]
    end
  end
end
local schema, scale_from, scale_to, speed, known_epoch, known_sequence, valid_from, valid_to, settled, opens_epoch, said, cells,
  documents, asks_at, moves_at, writes_at = unpack(numbers, 1, 16)
-- The versions of the documents come next, and then the buckets: each is cell, emission interval, burst and floor, and known by its place.
local versions_at, buckets_at = 17, 17 + documents

-- The marker, and how far the ledger has come.
local marker = call('HMGET', KEYS[1], 'epoch', 'sequence', 'writable_from')
local epoch, sequence, writable_from = tonumber(marker[1]), tonumber(marker[2]), tonumber(marker[3])
if not (epoch and sequence and writable_from) then return {NO_LEDGER} end
if writable_from > schema then return {NEWER, tonumber(call('HGET', KEYS[1], 'schema')) or writable_from} end

-- The time: the server's, on the caller's scale.
local clock = call('TIME')
local at = scale_to + (clock[1] * 1000000 + clock[2] - scale_from) * speed

if known_epoch > epoch or (known_epoch == epoch and known_sequence > sequence) then
  return {WENT_BACK, at, epoch, sequence}
end

-- The rows of the documents that the caller has to know, and of the cells; their names begin the arguments.
local first, last, rows = 3, 2 + documents + cells, {}
if last - first < SPREAD then
  if last >= first then rows = call('HMGET', KEYS[3], unpack(ARGV, first, last)) end
else
  for from = first, last, SPREAD do
    for _, row in ipairs(call('HMGET', KEYS[3], unpack(ARGV, from, min(from + SPREAD - 1, last)))) do
      rows[#rows + 1] = row
    end
  end
end

-- What the caller has to know.
local moved, unknown = {MOVED, at, epoch, sequence, 0}, 0
-- Sequence numbers may begin anew with an epoch, so that another document has the version of one that the caller knows.
local of_old = known_epoch > 0 and known_epoch < epoch
for index = 1, documents do
  local row, version = rows[index], 0
  if row then
    local blank = string.find(row, ' ', 1, true)
    version = blank and tonumber(string.sub(row, 1, blank - 1))
    if not version then return {BAD_ROW, ARGV[first + index - 1], row} end
  end
  if of_old or version ~= numbers[versions_at + index - 1] then
    unknown = unknown + 1
    moved[#moved + 1] = index - 1
    moved[#moved + 1] = version
    moved[#moved + 1] = row and string.sub(row, string.find(row, ' ', 1, true) + 1) or ''
  end
end
moved[5] = unknown
if settled then
  for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[4], '-inf', at, 'LIMIT', 0, OVERDUE_MAX)) do
    moved[#moved + 1] = name
  end
end
if at < valid_from or at >= valid_to or #moved > 5 then return moved end

-- The cells, through which the buckets are seen.
local names = first + documents - 1
local tat, held, asked, changed = {}, {}, {}, {}
for cell = 1, cells do
  local row = rows[documents + cell]
  if row then
    local t, h, a = string.match(row, '^(%-?%d*) (%d+) (%d+)$')
    if not t then return {BAD_ROW, ARGV[names + cell], row} end
    tat[cell], held[cell], asked[cell] = tonumber(t) or NEVER, tonumber(h), tonumber(a)
  else
    tat[cell], held[cell], asked[cell] = NEVER, 0, 0
  end
end

-- Each ask is bucket, usable burst, tokens, whether the CA asks, and the bucket whose held tokens have to fit beside.
local blocked = {BLOCKED, at, epoch, sequence}
for ask = asks_at, moves_at - 1, 5 do
  local bucket, usable, tokens, asking, beside = numbers[ask], numbers[ask + 1], numbers[ask + 2], numbers[ask + 3], numbers[ask + 4]
  local cell = numbers[bucket]
  if beside then
    tokens = min(tokens + held[numbers[beside]], numbers[bucket + 2])
  end
  local fits_at = max(tat[cell], numbers[bucket + 3] or NEVER, at) + numbers[bucket + 1] * (tokens + held[cell] - usable)
  if fits_at > at and (asking or asked[cell] > 0) then
    if not asking then
      -- It would take, unasked, what another order was let go for. That one is soon over.
      fits_at = min(fits_at, at + ASK_AGAIN)
    end
    blocked[#blocked + 1] = (bucket - buckets_at) / 4
    blocked[#blocked + 1] = min(fits_at, LAST)
  end
end
if #blocked > 4 then return blocked end

-- It is a yes. Each move is bucket, motion, and what belongs to it.
local done, denied = {DONE, at, epoch, sequence}, 5
local function spend(cell, bucket, now)
  local full_at, emission = max(tat[cell], now), numbers[bucket + 1]
  local empty = now + emission * numbers[bucket + 2]
  tat[cell] = max(min(full_at + emission, empty), full_at)
end
for move = moves_at, writes_at - 1, 3 do
  local bucket, motion, with = numbers[move], numbers[move + 1], numbers[move + 2]
  local cell = numbers[bucket]
  tat[cell], changed[cell] = max(tat[cell], numbers[bucket + 3] or NEVER), true
  if motion == HOLD then
    held[cell], asked[cell] = held[cell] + 1, asked[cell] + with
  elseif motion == SPEND or motion == RELEASE then
    held[cell], asked[cell] = max(held[cell] - 1, 0), max(asked[cell] - with, 0)
    if motion == SPEND then spend(cell, bucket, at) end
  elseif motion == CHARGE then
    spend(cell, bucket, with or at)
  elseif motion == TRY then
    if max(tat[cell], at) + numbers[bucket + 1] * (1 + held[cell] - numbers[bucket + 2]) <= at then
      spend(cell, bucket, at)
    else
      done[denied] = (bucket - buckets_at) / 4
      denied = denied + 1
    end
  elseif motion == RAISE then
    tat[cell] = max(tat[cell], with + numbers[bucket + 1] * (numbers[bucket + 2] - 1))
  end
end
if #numbers >= moves_at or said or opens_epoch then
  sequence = sequence + 1
  local version = format('%.0f', sequence)
  -- First what may be refused: a record that is ahead of the marker.
  if said then
    call('XADD', KEYS[2], version .. '-0', format('%.0f %s', at, ARGV[2]), ARGV[said])
  end
  local kept, size = {}, 0
  for cell = 1, cells do
    if changed[cell] then
      local row
      if tat[cell] == NEVER then
        row = format('- %d %d', held[cell], asked[cell])
      else
        row = format('%.0f %d %d', tat[cell], held[cell], asked[cell])
      end
      kept[size + 1], kept[size + 2] = ARGV[names + cell], row
      size = size + 2
    end
  end
  -- A document is its name, unless that stands among those that the caller has to know, body, and lease.
  local place = names + cells + 1
  for write = writes_at, #numbers, 3 do
    local written, among, lease = numbers[write], numbers[write + 1], numbers[write + 2]
    local name = among and ARGV[first + among - 1]
    if not name then name, place = ARGV[place], place + 1 end
    if written then
      kept[size + 1], kept[size + 2] = name, version .. ' ' .. ARGV[place]
      size, place = size + 2, place + 1
    else
      call('HDEL', KEYS[3], name)
    end
    if lease then
      call('ZADD', KEYS[4], lease, name)
    elseif not among or rows[among] then
      call('ZREM', KEYS[4], name)
    end
  end
  for from = 1, size, SPREAD do
    call('HSET', KEYS[3], unpack(kept, from, min(from + SPREAD - 1, size)))
  end
  if opens_epoch then
    epoch = max(epoch + 1, math.floor(at / 1000000))
    call('HSET', KEYS[1], 'epoch', epoch)
  end
  call('HSET', KEYS[1], 'sequence', version)
end
done[3], done[4] = epoch, sequence
return done
