package api

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// wantedLink is the body that mints a link.
type wantedLink struct {
	CompanyID  *string `json:"company_id"`
	Role       string  `json:"role"`
	Person     string  `json:"person"`
	Landing    string  `json:"landing"`
	TTLSeconds int64   `json:"ttl_seconds"`
}

// mintedLink is the answer. A replay of it has no URL: it signs in whoever opens it first, and is not kept.
type mintedLink struct {
	access.Link

	URL      *string `json:"url"`
	Withheld bool    `json:"withheld"` // it was shown in the first answer
}

func (s *server) createLink(r *request) (answer, error) {
	body, err := decode[wantedLink](r)
	if err != nil {
		return answer{}, err
	}
	wanted := access.NewLink{Role: access.Role(body.Role), Person: body.Person, Landing: body.Landing}
	if wanted.CompanyID, err = companyField(body.CompanyID); err != nil {
		return answer{}, err
	}
	if wanted.Life, err = seconds("ttl_seconds", body.TTLSeconds); err != nil {
		return answer{}, err
	}
	made, token, err := s.access.MintLink(r.Context(), r.caller, wanted)
	if err != nil {
		return answer{}, err
	}
	url := access.PortalURL(s.publicURL, token)
	return answer{
		status: http.StatusCreated, body: mintedLink{Link: made, URL: &url}, kept: mintedLink{Link: made, Withheld: true},
	}, nil
}

// companyField is the company that an operator names in a body; none: the zero UUID.
func companyField(text *string) (uuid.UUID, error) {
	if text == nil {
		return uuid.Nil, nil
	}
	id, valid := parseUUID(*text)
	if !valid {
		return uuid.Nil, unprocessable(field{Field: "company_id", Code: "invalid", Message: "want the UUID of a company"})
	}
	return id, nil
}

// seconds keeps a number that no duration can hold from becoming another one.
func seconds(name string, n int64) (time.Duration, error) {
	const most = 10 * 366 * 24 * 3600
	if n < 0 || n > most {
		return 0, unprocessable(field{Field: name, Code: "out_of_range", Message: "want a positive number of seconds, or none"})
	}
	return time.Duration(n) * time.Second, nil
}
