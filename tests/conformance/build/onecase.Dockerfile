from busybox as stage
run echo lower > /lower
copy kept.txt /k
cmd ["lower"]
env a=b
