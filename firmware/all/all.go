// Package all registers every format that the library reads:
//
//	import _ "assay/firmware/all"
package all

import (
	_ "assay/firmware/camera"
	_ "assay/firmware/filesystem"
	_ "assay/firmware/format"
	_ "assay/firmware/update"
)
