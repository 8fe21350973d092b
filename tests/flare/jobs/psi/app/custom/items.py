"""Two hundred names that a site has, of which it shares some with each other site."""

from nvflare.app_common.psi.psi_spec import PSI


class Items(PSI):
    def load_items(self):
        number = int(self.fl_ctx.get_identity_name().rsplit("-", 1)[-1])
        return [f"user-{n}" for n in range(60 * number, 60 * number + 200 + number)]
