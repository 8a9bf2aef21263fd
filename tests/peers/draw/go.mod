module vyris.example/draw-judge

go 1.26.0

require (
	github.com/cloudflare/circl v1.6.5
	golang.org/x/mod v0.43.0
)

require (
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
