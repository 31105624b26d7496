package format_test

import (
	"testing"

	"assay/firmware/internal/formattest"
)

func TestEachFormatIsRecognisedAndSurvivesItsEnemies(t *testing.T) {
	formattest.Check(t, "assay/firmware/format", samples)
}
