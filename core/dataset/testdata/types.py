import pyarrow as pa, pyarrow.parquet as pq, datetime, decimal
t = pa.table({
 "id": pa.array(["a","b","c"]),
 "n": pa.array([1,None,3], pa.int32()),
 "f": pa.array([1.5,2.25,None], pa.float32()),
 "d": pa.array([0.1,2.0,None], pa.float64()),
 "b": pa.array([True,False,None]),
 "u8": pa.array([1,255,0], pa.uint8()), "u64": pa.array([2**64-1,2**40,0], pa.uint64()),
 "i8": pa.array([-1,2,3], pa.int8()),
 "toks": pa.array([["x","y"],[],None], pa.list_(pa.string())),
 "nest": pa.array([[["x"],[]],[None],[["y",None]]], pa.list_(pa.list_(pa.string()))),
 "choices": pa.array([{"text":["p","q"],"label":["A","B"]},None,{"text":[],"label":None}]),
 "los": pa.array([[{"a":1,"b":"u"},{"a":None,"b":"v"}],[],None]),
 "m": pa.array([[("k",1),("l",2)],[],None], pa.map_(pa.string(), pa.int64())),
 "ts": pa.array([datetime.datetime(2020,1,2,3,4,5,600000),None,None], pa.timestamp("us")),
 "day": pa.array([datetime.date(2020,1,2),None,None]),
 "dec": pa.array([decimal.Decimal("12.30"),decimal.Decimal("-0.05"),None], pa.decimal128(10,2)),
 "bin": pa.array([b"abc", b"\xff\x00", None], pa.binary()),
 "cat": pa.array(["u","v","u"]).dictionary_encode(),
 "h": pa.array([1.5,-2.0,None], pa.float16()),
 "t": pa.array([datetime.time(1,2,3,400),None,None], pa.time64("us")),
 "ls": pa.array(["big",None,"z"], pa.large_string()),
})
pq.write_table(t, "types.parquet", data_page_version="2.0", row_group_size=2)
