module vyris/crowd

go 1.26.0
