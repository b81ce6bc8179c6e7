-- Makes a ledger where there is none. KEYS: the marker. ARGV: the schema.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'writable_from', ARGV[1], 'epoch', '1', 'sequence', '0')
return 1
